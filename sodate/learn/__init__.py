"""What is learnt from use: exchanges, feedback, failures and their clusters, review, replay."""
