"""SD.Next has its LoRAs here and no module ``networks`` on the path."""
