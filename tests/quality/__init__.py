"""How good the harness's decisions are, counted on known defects and on healthy cases."""
