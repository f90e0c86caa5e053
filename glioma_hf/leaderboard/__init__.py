"""The leaderboard behind its page: database, durable record, accounts, submissions and their scoring."""
