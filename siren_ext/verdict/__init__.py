"""From scores, and a key where there is one, to a finding in plain words."""
