"""Runs remembered in MLflow. Nothing here imports mlflow before a function that needs it is called."""
