"""What is wrong with an installation, its machine and its data: checks that yield findings."""
