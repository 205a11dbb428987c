"""The dashboards of Grafana, made by code with grafana-foundation-sdk."""
