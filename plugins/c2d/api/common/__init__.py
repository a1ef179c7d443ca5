"""What both APIs share."""
