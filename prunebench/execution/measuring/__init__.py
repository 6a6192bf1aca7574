"""What is measured of networks and trainings: latency, accuracy and memory in runtimes, steps a second."""
