from sweep_training import toy_record, toy_run

from recall_bench.store.record import TrainingRecord


def with_versions(**versions: int) -> TrainingRecord:
    return toy_record(toy_run()).model_copy(
        update={"versions": {"task": 1, "architecture": 1} | versions}
    )


def test_another_version_of_the_task_makes_another_experiment() -> None:
    assert with_versions(task=2).experiment != with_versions().experiment


def test_another_version_of_the_architecture_stays_in_its_experiment() -> None:
    assert with_versions(architecture=2).experiment == with_versions().experiment
