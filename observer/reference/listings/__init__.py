"""What is listed: master files, their changes, and what can be traded."""
