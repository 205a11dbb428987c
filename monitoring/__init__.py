"""What is made by code for monitoring: the manual's table of metrics, and the dashboards."""
