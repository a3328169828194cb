"""How well alerts are put together into incident groups: made scenarios with known truth, and recorded incidents."""
