"""Reading folders of volumes that somebody else made."""
