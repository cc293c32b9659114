"""How visible a coating is: colour differences, PSNR, SSIM."""
