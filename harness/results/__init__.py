"""What a run found out: its model and file, the verdict, and the reports drawn from it."""
