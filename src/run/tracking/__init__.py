"""What a run logs to Weights & Biases and TensorBoard, and what is shown there.

tracker.py logs through a Backend (backend.py): wandb_backend.py or tensorboard_backend.py. naming.py says
what a run is called, artifacts.py which of its files are logged, panels.py and workspaces.py what is shown.
"""
