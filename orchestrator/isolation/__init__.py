"""Side resources that are leased with a fork: the workspace folder and the Redis namespace."""
