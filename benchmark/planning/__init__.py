"""What is to be done: experiments, folders and settings become a plan with its costs."""
