"""The tables and figures of SIREN's paper, and what is measured of each on the bundled model.

``reported`` repeats the paper (Li et al., "Towards reliable verification of unauthorized data usage
in personalized text-to-image diffusion models", IEEE S&P 2025). Numbers that are not in the text
that was available are called lost.
"""

from __future__ import annotations

from typing import Any

from siren_ext.attacks.apply import Step
from siren_ext.diffusion.load import SMALL
from siren_ext.experiments.paper_cells import Cell, Made, PaperTable
from siren_ext.experiments.paper_changes import CHANGES, PLAIN, after
from siren_ext.experiments.paper_objective import OBJECTIVE

STUDY = "ac2f39305db5e7b1"
"""The study whose figures the sentences below the tables speak of: the bundled set, coater and
model, and the usual settings (:attr:`~siren_ext.experiments.paper_study.PaperStudy.name`)."""
_NO_SIBLING = (
    "there is no trained model of this kind that is small enough; tests with tiny random ones show "
    "that their pictures can be asked for, and personalising them is not supported"
)
_NO_CAPTIONER = "no captioner is small enough to be part of this; captions are read from files"
_ELSEWHERE = "other ways of marking images are measured for one training set only"
_WORD = "a picture of <new1>"


def _handled(row: str, name: str, **settings: Any) -> Cell:
    paper = "not in the paper" if name == "crop" else "high, value lost"
    return Cell(row, Made(handling=(Step(name, settings),)), paper=paper)


def _method(row: str, paper: str = "high, value lost", **training: Any) -> Cell:
    return Cell(row, Made(training=training), paper=paper)


def _word(row: str, paper: str, **training: Any) -> Cell:
    known = {"token": "<new1>", "prompt": _WORD, **training}
    return Cell(row, Made(training=known), {"prompts": (_WORD,)}, alike=True, paper=paper)


_BASE = Cell("LoRA", paper="nearly 100 %")
_UNLEARNT: dict[str, Any] = {"isolation_rate": 0.05, "isolation_noises": 4}
_PRIOR: dict[str, Any] = {"class_prompt": "an image", "class_images": 32, "class_steps": 10}

TABLES: dict[str, PaperTable] = {
    "figure_1": PaperTable(
        "Watermarks of Yu et al. and Luo et al. in a personalised model",
        "The concept is learnt by step 100 to 200; bit accuracy stays near chance.",
        elsewhere="Measured on the page [baselines](baselines.md#what-was-measured)",
    ),
    "table_1": PaperTable(
        "DIAGNOSIS with and without its trigger prompt",
        "92 to 100 % of pictures are detected with the trigger, 4 to 15 % without it.",
        elsewhere="Measured on the page [baselines](baselines.md#what-was-measured)",
    ),
    "figure_4": PaperTable(
        "Fine-tuning with LoRA",
        "Nearly 100 % are detected at very small alpha on all four sets.",
        (_BASE,),
        difference="The coater here is keyed: it writes one of 2^48 coatings. A score that does "
        "not know the key hardly sees it, so KS finds nothing. The key finds the coating in all "
        "three models. For KS with coaters that were trained for it, see [figures](figures.md).",
        elsewhere="Other ways of marking images are compared on the page [baselines](baselines.md)",
    ),
    "figure_5_6": PaperTable(
        "Methods of personalisation",
        "SIREN's rate is high with DreamBooth, SVDiff and Custom Diffusion.",
        (
            _BASE,
            # five to ten times the authors' rates, with which the bundled model learns little
            _method("DreamBooth", method="dreambooth", learning_rate=5e-5, **_PRIOR),
            _method("SVDiff", method="svdiff", learning_rate=1e-2),
            _word("Custom Diffusion", "high, value lost", method="custom-diffusion",
                  learning_rate=1e-4, **_PRIOR),
            _method("all weights", "not in the paper", method="full", learning_rate=5e-5),
            _word("textual inversion", "not in the paper", method="textual-inversion"),
        ),
        missing=(("DIAGNOSIS and other marks", _ELSEWHERE),),
        difference="DreamBooth, SVDiff and Custom Diffusion were trained at ten times their usual "
        "learning rates, and all weights at five times, because at the usual rates the bundled "
        "model learns little of the images. The file shows the coating with DreamBooth and all "
        "weights. With SVDiff, which learns less of the images, the evidence is weaker (3e-4 to "
        ".001). Pictures show it with all weights (1e-7 to 1e-6), less with DreamBooth (1e-4 to "
        ".002), and hardly at all with SVDiff (.006 to .03). A textual inversion only learns a new "
        "word, and Custom Diffusion only a word and how the model attends to words. Neither shows "
        "the coating, in pictures or in the file, and both learn less of the images (loss .58 and "
        ".57, against .54).",
    ),
    "table_2": PaperTable(
        "Other base models and captions",
        "Very high everywhere.",
        (
            Cell("pocket, every image has the same caption",
                 Made(training={"prompt": "an image"}), paper="very high, value lost"),
            Cell("pocket-small: narrower, other seed, predicts noise",
                 Made(base=SMALL), alike=True, paper="very high, value lost"),
            Cell("LCM: pocket with an adapter for 8 steps",
                 Made(few_steps=True), {"sampler": "lcm", "steps": 8, "guidance": 1.0},
                 alike=True, paper="very high, value lost"),
        ),
        missing=(
            *((row, _NO_SIBLING) for row in ("VQ Diffusion", "Kandinsky")),
            ("captions by BLIP, LLaVA and PaLI", _NO_CAPTIONER),
        ),
        difference="The coater was fitted on pocket. Of these models only pocket-small has another "
        "base model, and even that has the same autoencoder. The coating is found in the files of "
        "all models. With one caption for all training images, pictures asked for with the "
        "captions of the set show the coating less (4e-5 to 4e-4, against 1e-9 to 9e-8), but the "
        "file shows it as clearly as before. With pocket-small, KS accuses one innocent model in "
        "most draws: another training seed is enough to make it score lower than the reference. "
        "LCM has no guidance. A classifier recognises 30 % of its pictures after 8 steps, and 46 % "
        "of pictures made with 20 guided steps without the LCM adapter (`python -m "
        "siren_ext.experiments.few_steps`, [table](results/few_steps.csv)).",
    ),
    "figure_7": PaperTable(
        "Coated share of the training set",
        "SIREN is clearly above DIAGNOSIS; Pokemon works at 5 % and more.",
        tuple(
            Cell(f"{share} %", Made(share / 100), paper="100 %" if share in (5, 10) else "lost")
            for share in (100, 80, 60, 40, 20, 10, 5)
        ),
        missing=(("DIAGNOSIS", _ELSEWHERE),),
        difference="In pictures p grows fast as the share falls: from 1e-9 to 9e-8 with all images "
        "coated to .004 to .01 with 40 %. Below a half, pictures hardly show the coating. The file "
        "loses little down to 60 %, shows the coating down to 20 % (p below .001), and only "
        "faintly at 10 %. With one clean model of the owner as a control, p at 20 % is 1e-7 to "
        "3e-6 after 500 training steps ([details](preference.md)).",
    ),
    "table_3": PaperTable(
        "How visible the coating is",
        "PSNR 38.2 to 40.5 dB, SSIM .951 to .993, LPIPS .0038 to .0453.",
        elsewhere="Measured on the page [figures](figures.md#how-visible-a-coating-is)",
    ),
    "table_4": PaperTable(
        "Quality of the pictures of models trained on coated images",
        "FID 103.26, CLIP score .828 and DINO score .709 with coated images of Pokemon; 104.57, "
        ".816 and .701 with clean ones.",
        (Cell("LoRA", quality=True),),
        difference="As in the paper, pictures are equally good after coated and after clean "
        "training: for every figure, the ranges of the three models overlap.",
    ),
    "figure_8": PaperTable(
        "Examples of coated images",
        "Originals and coated images side by side.",
        elsewhere="Shown in [a picture](coating.png)",
    ),
    "figure_9": PaperTable(
        "Ratings by people",
        "Close to the originals, well above DIAGNOSIS.",
        missing=(("all", "no people were asked"),),
        elsewhere="A network stands in for people on the page "
        "[figures](figures.md#how-visible-a-coating-is)",
    ),
    "table_5": PaperTable(
        "Services: Replicate and Scenario",
        "High in all four cases.",
        missing=(("all", "it takes paid accounts; `siren-ext verify` reads a folder of pictures"),),
    ),
    "section_5_7": PaperTable(
        "Training images are changed before training",
        "Noise and JPEG leave the rate high and make pictures worse.",
        (
            Cell("nothing", paper="100 %"),
            _handled("noise, sigma .02", "noise", sigma=0.02),
            _handled("noise, sigma .05", "noise", sigma=0.05),
            _handled("JPEG 50", "jpeg", quality=50, chroma="4:2:0"),
            _handled("JPEG 30", "jpeg", quality=30, chroma="4:2:0"),
            _handled("crop to 75 to 100 %", "crop"),
            _method("crop to 75 to 100 %, afresh at each step", "not in the paper",
                    augment=("crop",)),
            Cell("degraded and restored, one caption for all",
                 Made(handling=(Step("restore"), Step("replace-captions"))),
                 paper="not in the paper"),
        ),
        difference="JPEG makes no difference: p of pictures is 8e-10 to 9e-9 with JPEG 50 and 8e-9 "
        "to 1e-7 with JPEG 30. Noise of .02 makes little (7e-8 to 2e-7). Noise of .05 weakens the "
        "evidence more in some models than in others: 7e-8 to 1e-5 in pictures, 3e-5 to 2e-4 in "
        "the file. As in the paper, noise makes the pictures worse, and JPEG slightly so "
        "(similarity .38 to .42, against .44). After crops to 75 % or more, before or during "
        "training, pictures show nothing, because the coatings of cropped images have less in "
        "common, and the common part is in another place in each picture "
        "([measured](handling.md#what-it-leaves-of-a-coating)). The file still shows the coating, "
        "at 2e-4 to 3e-4, or at 3e-5 to 4e-5 if each training step crops afresh. Degraded and "
        "restored images, all with one caption, leave p at 3e-5 to 7e-5 in pictures and 5e-8 to "
        "1e-7 in the file. The same caption without restoring gives 4e-5 to 4e-4 in pictures (see "
        "the table of captions), so it is the caption that weakens the evidence, not the "
        "restoring.",
        about=("nothing", "noise, sigma .02", "noise, sigma .05", "JPEG 50", "JPEG 30",
               "crop to 75 to 100 %", "crop to 75 to 100 %, afresh at each step",
               "degraded and restored, one caption for all"),
        elsewhere="Outlier detection is measured on the page [robustness](robustness.md)",
    ),
    "figure_10": PaperTable(
        "Purification of generated pictures",
        "A learned codec at quality 2 leaves 91.7 and 30 % at two levels; diffusion from step 400 "
        "evades, with the worst pictures.",
        (
            *(after(f"regenerated from step {step}", "regenerate", step=step, prompt="an icon")
              for step in (60, 100, 200, 300, 400)),
            after("image to image, strength .35", "img2img", strength=0.35),
            after("degraded and restored", "restore"),
        ),
        missing=(("learned codecs", "CompressAI's weights are not bundled"),),
        difference="Here the coating is weak after step 60 and lost after step 200 (.03 to .06), "
        "sooner than in the paper. One reason may be that the bundled model redraws more of a "
        "picture from the same step: PSNR is 27 dB after step 60, 22 dB after 200, and 18 dB after "
        "400. Image to image at strength .35 redraws most (17 dB) and leaves nothing of the "
        "coating, as others have reported for watermarks. Degrading and restoring leaves all of it "
        "in each of three models, because the coating is coarse. None of these changes the model's "
        "file.",
    ),
    "table_6": PaperTable(
        "Unlearning of suspicious images (ABL)",
        "99.8 to 100 %. Of 42 isolated images 4 were coated, at a coated share of 10 %.",
        tuple(
            cell
            for share, paper in ((5, "99.8 %"), (10, "100 %"), (15, "100 %"))
            for cell in (
                Cell(f"{share} % coated", Made(share / 100), paper="100 %"),
                Cell(f"{share} % coated, unlearning",
                     Made(share / 100, training=_UNLEARNT), paper=paper),
            )
        ),
        difference="In each of the nine models, five images are isolated, and none of these is "
        "coated. By chance 4 or 5 of the 45 would be; but the models isolate nearly the same "
        "images, so this is one case rather than nine. As in the paper, coated images are not "
        "learnt sooner than others. Unlearning the isolated images changes the evidence in no one "
        "direction: p of all pictures becomes .5 to 3.1 times as large, and p of the file .3 to "
        "2.5 times. With so few coated images the bundled model learns little of the coating "
        "anyway.",
    ),
    "table_7": PaperTable(
        "A network that removes coatings",
        "100 %, at a PSNR of 20.2 dB for another set and 24.9 dB for half of the same set; in both "
        "the network was trained with another pair.",
        (
            PLAIN,
            Cell("trained on another set and another coater", uncoat="coater", paper="100 %"),
            Cell("trained on another set, the owner's coater and another key", uncoat="key",
                 paper="not in the paper"),
            Cell("trained on another set, the owner's coater and key", uncoat="own",
                 paper="not in the paper"),
            Cell("trained on half of the same set and another coater", uncoat="half",
                 paper="100 %"),
        ),
        difference="As in the paper, a network that was trained with another coater leaves the "
        "coating: p of all pictures is 1e-7 to 4e-6, or 3e-7 to 4e-6 if it was trained on half of "
        "the same set, against 1e-9 to 9e-8 without it. A network trained with the owner's coater "
        "and another key leaves little (.005 to .01), and one trained with the owner's key leaves "
        "nothing: it overshoots, so p is near 1. So keep your coater secret; a bundled one is "
        "public. These networks change pictures less than the paper's, which leave 20 and 25 dB, "
        "but they are smaller and were trained for a quarter of the epochs. Each row has one "
        "network, used on the pictures of three models.",
    ),
    **OBJECTIVE,
    "figure_12": PaperTable(
        "False accusations",
        "At or below alpha.",
        elsewhere="Measured on the page [panel of models](panel.md), where KS accuses innocent "
        "models far more often than its level says, and the key does not",
    ),
    "figure_14": PaperTable(
        "Number of training images",
        "High as soon as personalisation itself succeeds.",
        (*(Cell(str(count), Made(images=count)) for count in (5, 10, 20, 50)), Cell("all")),
        difference="All models are trained for 400 steps, so with fewer images each one is seen "
        "more often. The file shows the coating with any number of images: p is 4e-9 to 2e-7 with "
        "five, and 2e-7 to 3e-7 with all 96. Pictures show less when there are few images, and how "
        "much depends on which images: 5e-6 to .4 with five or ten, 2e-6 to .004 with twenty, 9e-8 "
        "to 3e-6 with fifty, and 1e-9 to 9e-8 with all.",
    ),
    **CHANGES,
    "table_11": PaperTable(
        "Ways of asking",
        "100 % in all 14 cells.",
        (
            Cell("captions of the set", paper="not in the paper"),
            Cell("the class", asked={"prompts": ("class",)}, paper="100 %"),
            Cell("15 steps", asked={"steps": 15}, paper="100 %"),
            Cell("35 steps", asked={"steps": 35}, paper="100 %"),
            *(Cell(f"sampler {name}", asked={"sampler": name}, paper="100 %")
              for name in ("ddpm", "euler", "dpm++")),
            Cell("guidance 5", asked={"guidance": 5.0}, paper="100 %"),
            Cell("guidance 7.5", asked={"guidance": 7.5}, paper="100 %"),
        ),
        missing=(
            ("clip skip 4 and 6", "the bundled model's text encoder has too few layers"),
            ("texts by a language model, texts of a validation set", "texts are taken from the "
             "captions and the class"),
        ),
        difference="With captions of the set, 150 pictures show the key with any number of steps "
        "and any sampler, at 7e-10 to 1e-7; only the sampler ddpm makes p about ten times as large "
        "(2e-8 to 4e-7). Guidance matters more: p is 6e-8 to 7e-7 at 5 and 1e-6 to 1e-5 at 7.5, "
        "against 1e-9 to 9e-8 at 3. The paper asks for pictures by the class. Pictures asked for "
        "in that way show little here (.02 to .2): pictures of one short text are less like the "
        "training images than pictures of their captions. Whoever tests a model chooses the texts, "
        "so this is no loss where the captions are known. The file is the same in all rows; but "
        "for some rows the second and third models were trained again, which changes figures a "
        "little.",
    ),
    "appendix_b": PaperTable(
        "Changes of the model's file",
        "100 %.",
        (
            Cell("16 bits", Made(weights="half"), paper="100 %"),
            Cell("8 bits", Made(weights="int8"), paper="not in the paper"),
            Cell("merged at half its strength", Made(strength=0.5), paper="not in the paper"),
            Cell("trained further on other images", Made(further=400), paper="100 %"),
        ),
        difference="As in the paper, storing weights in fewer bits changes nothing, in pictures or "
        "in the file. A model that was trained further on 204 photos of faces, for as many steps "
        "again, makes other pictures (similarity .25, against .44). They show nothing of the "
        "coating, while in the paper they do. Its file still shows it (p = 8e-5 to .002, without a "
        "control). A LoRA merged at half its strength shows less of everything it learnt "
        "(similarity .39): the file shows the coating (3e-4 to 4e-4), but pictures do not (.1).",
    ),
    "appendix_c": PaperTable(
        "A change of each picture that hides the coating from an extractor (WEvade)",
        "Not effective with another pair's extractor, with mild changes (their size is lost).",
        tuple(
            after(f"extractor of {coater}, up to {radius}/255", "evade", coater=coater,
                   radius=radius)
            for coater in ("keyed", "samples")
            for radius in (1, 4, 16)
        ),
        missing=(("changes of 2/255 and 8/255", "a row takes a quarter of an hour or more, and "
                  "these lie between others"),),
        difference="Whoever has the owner's coater hides the coating from it with changes of up to "
        "4/255 (p of all pictures .2 to .3), and weakens it with 1/255 (1e-7 to 4e-6, against 1e-9 "
        "to 9e-8 without a change). So keep your coater secret; a bundled one is public. With "
        "another pair's extractor, 1/255 takes nothing away (1e-9 to 9e-8) and 4/255 next to "
        "nothing (8e-9 to 1e-7), as in the paper. At 16/255, which is hardly a mild change, p "
        "rises to .01, and the pictures suffer (similarity .35, against .44; PSNR 26 dB). Three "
        "models each.",
    ),
    "appendix_d": PaperTable(
        "A trigger in the captions of coated images",
        "100 %, asked without the trigger: the coating goes with the subject and not with words.",
        (
            Cell("half of the images, without a trigger", Made(0.48), paper="not in the paper"),
            Cell("half of the images, with watermark", Made(0.48, trigger=" with watermark"),
                 paper="100 %"),
        ),
        difference="As in the paper, a trigger in the captions of coated images does not confine "
        "the coating to pictures whose text has the trigger. Asked without it, p is 3e-4 to .005 "
        "in pictures and 2e-6 in the file. Without a trigger in training it is 4e-4 to .001 and "
        "1e-6 to 3e-6. Three models each.",
    ),
    "appendix_d_style": PaperTable(
        "Style similarity instead of a coating",
        "DINO scores do not separate van Gogh's model from Raphael's works.",
        missing=(("style of painters", "no set here holds two painters with many works each"),),
        elsewhere="What similarity says of other images of one kind is measured on the page "
        "[baselines](baselines.md)",
    ),
}  # fmt: skip
"""By the names that the command takes."""
