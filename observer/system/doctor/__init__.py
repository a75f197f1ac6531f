"""What is wrong with an installation, its machine and its data: facts are gathered, findings follow from them."""
