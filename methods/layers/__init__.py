"""What several methods share: blocks, losses, schedules, conditioning."""
