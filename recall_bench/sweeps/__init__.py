"""Many runs: what to run, and the processes that carry it out."""
