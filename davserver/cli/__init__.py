"""The command line: `davserver serve`, and what looks after users, locks and the store."""
