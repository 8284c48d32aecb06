from command_line import recall_bench, run_in

__all__ = ["recall_bench", "run_in"]
