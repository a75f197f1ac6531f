"""What is kept for good: the lake of sealed days, and the backup."""
