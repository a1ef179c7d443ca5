"""The objects of the API: which kinds there are, where they are stored, and what deleting one of them deletes."""
