"""What operators send and see under `/admin/v1`."""
