"""What SD.Next exports from its list of checkpoints; the aliases are not among it."""

from modules.sd_checkpoint import checkpoints_list, get_closest_checkpoint_match

__all__ = ["checkpoints_list", "get_closest_checkpoint_match"]
