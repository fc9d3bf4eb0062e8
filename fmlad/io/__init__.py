"""Reading and writing: pictures, inputs, the disk cache, saved tensors."""
