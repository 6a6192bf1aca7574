"""`python -m prunebench.execution`: perform the job whose JSON is on standard input."""

from prunebench.execution.worker import main

if __name__ == "__main__":
    main()
