"""A callback of your own: collects task weights, and stops the training by a rule of your own.

Every logger of grace is such a callback. An exception raised in a hook ends the training and
reaches the caller; the last checkpoint stays, and the same call continues from it.
"""

import grace


class EnoughError(Exception):
    """Raised to stop a training."""


class WeightLog(grace.Callback):
    """Keeps the task weights of each logged step; stops once an RMSE is reached."""

    def __init__(self, stop_below: float) -> None:
        self.stop_below = stop_below
        self.rows: list[tuple[int, float, float]] = []

    def on_train_start(self, start: grace.training.TrainStart) -> None:
        """A resumed training repeats the steps after its last checkpoint: drop their rows."""
        self.rows = [row for row in self.rows if row[0] < start.first_step]
        print(f"{start.epochs} epochs of {start.steps_per_epoch} steps on {start.device}")

    def on_step_end(self, step: grace.training.StepEnd) -> None:
        """Tensors are read only on logged steps, because reading makes a GPU wait."""
        if step.logged:
            rul_weight, health_weight = step.log.weights.tolist()
            self.rows.append((step.step, rul_weight, health_weight))

    def on_epoch_end(self, record: grace.training.history.EpochRecord) -> None:
        """Stop early by the validation RMSE."""
        rmse = record.rmse["validation"]
        print(f"epoch {record.epoch + 1}: validation RMSE {rmse:.1f}")
        if rmse < self.stop_below:
            raise EnoughError(f"validation RMSE {rmse:.1f} is good enough")


config = grace.RunConfig.load(
    overrides={
        "dataset_options": {"n_train": 10, "n_test": 4},
        "model": {"lstm_hidden": 8},
        "training": {"epochs": 2, "log_every": 5},
        "evaluate_baselines": False,
    }
)
log = WeightLog(stop_below=1.0)
try:
    grace.run(config, "runs/callback", callbacks=[log])
except EnoughError as reason:
    print("stopped:", reason)
print(f"{len(log.rows)} rows of weights, the last {log.rows[-1]}")
