"""What hears of pushes and comments, and sees to it that what they ask for happens."""
