"""What can be told of the store from its answers: whether it lost something, and how time passed there."""
