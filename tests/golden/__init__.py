"""What the code computes, written down: `values.json` is compared with what it computes now (see CONTRIBUTING)."""
