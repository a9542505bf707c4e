"""Images: readers, datasets and batches."""
