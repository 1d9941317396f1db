"""What Holdfast uses of botocore."""
