"""What Holdfast uses of boto3."""
