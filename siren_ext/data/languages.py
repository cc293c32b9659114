"""How often letters are used in languages, for the detection of code pages.

The strings list letters from frequent to rare. For languages in Latin letters they have only the
letters beside a to z.
"""
# ruff: noqa: RUF001  letters of other alphabets are meant

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

UNUSUAL = -11.0
"""Logarithm of the probability of a letter that a language does not have."""

_WESTERN = ("cp1252", "iso8859_15", "mac_roman", "cp850")
_CENTRAL = ("cp1250", "iso8859_2", "cp852", "mac_latin2")
_RUSSIAN = ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic")
_UKRAINIAN = ("cp1251", "koi8_u", "iso8859_5", "mac_cyrillic")

# letters, and the code pages that have them
_LATIN = (
    ("éàèêçœôîûâùïëü", _WESTERN),  # French; also loans in English
    ("üäöß", _WESTERN),  # German
    ("óíáéñúü", _WESTERN),  # Spanish
    ("ãçáêéóúíàõâô", _WESTERN),  # Portuguese
    ("èàùòìé", _WESTERN),  # Italian
    ("àéóèíòçúïü", _WESTERN),  # Catalan
    ("ëïéèöüê", _WESTERN),  # Dutch, Afrikaans
    ("ëç", _WESTERN),  # Albanian
    ("äåöé", _WESTERN),  # Swedish, Finnish
    ("åøæé", _WESTERN),  # Danish, Norwegian
    ("ðáíþæöúýéó", ("cp1252", "mac_iceland", "cp850")),  # Icelandic
    ("õäüöšž", ("cp1257", "iso8859_15")),  # Estonian
    ("łęóąśżćńź", _CENTRAL),  # Polish
    ("íáěéřčžýšůúňťďó", _CENTRAL),  # Czech
    ("áčéíťšžýúľôóňäďĺŕ", _CENTRAL),  # Slovak
    ("áéőöóíüúű", _CENTRAL),  # Hungarian
    ("čšžćđ", _CENTRAL),  # Croatian, Slovene
    ("ăîâşţ", _CENTRAL[:3]),  # Romanian
    ("ėšųžįūčąę", ("cp1257",)),  # Lithuanian
    ("āīšēļūņčžģķ", ("cp1257",)),  # Latvian
    ("ıüşğçöİâî", ("cp1254", "mac_turkish", "cp857")),  # Turkish
)
# many letters have marks
_VIETNAMESE = (("đưôơâêăáàéèóòíúùýãẽĩõũ\u0301\u0300\u0323\u0309\u0303", ("cp1258",)),)
_ALPHABETS = (
    ("оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфёъ", _RUSSIAN),
    ("оаинвіетрслкудмпязьбгйчхцюжїшєщфґ", _UKRAINIAN),
    ("аеоитнрсвлдкпмузгябъщчцжхйшфюь", _RUSSIAN[:1]),  # Bulgarian
    ("аоиенрстјувкдпмлзгбчшцжњхћђљфџ", _UKRAINIAN[:1]),  # Serbian
    ("αοιετνσρκςηπυμλίάόγδέήθώφχύωβξζψϊϋΐΰ", ("cp1253", "iso8859_7")),
    ("יולהארתבמשנםדעחקפכגצןטזסךףץ", ("cp1255",)),
    ("اليمنرتوبةدعفسقكهحجشصأطىخضذزثئغءظإآؤ", ("cp1256", "iso8859_6")),
    ("ایيردنهومتبسشکكزفگخپقآحعجچغصطلضذثظژئءأ", ("cp1256",)),  # Persian
    ("านรอกเง่้มยลวดทสตะปบัคหีแิจพชขใไืุูโ็ผำณซ์ถฟธฐศญษภฉฝฮฎๆฏฆ", ("cp874",)),
)
_CHINESE = (
    "的一是不了人在有我他中上大和地到以要就出可也你生能而子那得下自之年里用道行所然家事成方多去法"
    "如都同面起看定天分好小部其些主理心她本前但因只日女孩猫狗狐狸站坐走笑微白黑色短眼睛衣服裙帽花"
    "草山水海空雪雨夜晚月星房屋窗街城市景油彩背穿拿手美可男老少森林高清最"
)
_SIMPLIFIED = (
    "这个们来为国说时会对于着过发后种经么学现当没动还进样开从想实红蓝绿黄长头树云阳光门桥风画脸丽爱飞"
    "鸟鱼马车船质杰"
)
_TRADITIONAL = (
    "這個們來為國說時會對於著過發後種經麼學現當沒動還進樣開從想實紅藍綠黃長頭樹雲陽光門橋風畫臉麗愛飛"
    "鳥魚馬車船質傑貓隻髮裡"
)
_JAPANESE = (
    "女少年子人大小中上下日本一二三白黒赤青緑黄色髪目顔手足服花木森山海空雲雪雨夜朝夕月星光風景画絵"
    "水彩油猫犬狐鳥魚馬車家窓門橋街町道駅学校生立座走歩笑美東京都方神社居作品"
)
_KOREAN = (
    "이다는을를에가의은고한하서도로있지기사나여자소녀리아그시해인스어들라대위게만정보전수일주장부과"
    "와구상무오으니면모동성원신제미경선조안마비진세우치관물국데했것할습양강공화연문바람머눈빛꽃숲길"
    "집개늑풍림"
)


class Language(NamedTuple):
    """Letters of a language.

    Attributes
    ----------
    weights : dict[str, float]
        Logarithm of the probability of each letter, in lower case.
    rest : tuple[tuple[str, int, float], ...]
        For the other characters: a code page, the smallest number of the character in it, and the
        logarithm; the first that fits holds.
    """

    weights: dict[str, float]
    rest: tuple[tuple[str, int, float], ...] = ()

    def weight(self, letter: str) -> float:
        """Logarithm of the probability of a letter."""
        found = self.weights.get(letter)
        if found is None:
            found = self.weights.get(letter.lower())
        return _rest(self.rest, letter) if found is None else found


@lru_cache(maxsize=1 << 13)
def _rest(ranges: tuple[tuple[str, int, float], ...], letter: str) -> float:
    """Weight of a letter that is not listed."""
    for codec, least, weight in ranges:
        if int.from_bytes(letter.encode(codec, "ignore"), "big") >= least:
            return weight
    return UNUSUAL


def _ranked(letters: str, share: float, ratio: float) -> dict[str, float]:
    """Weights of letters of which each is as much rarer than the one before."""
    total = sum(ratio**rank for rank in range(len(letters)))
    return {
        letter: math.log(share / total) + rank * math.log(ratio)
        for rank, letter in enumerate(letters)
    }


def _even(letters: str, weight: float) -> dict[str, float]:
    return dict.fromkeys(letters, weight)


def _marks(letters: str) -> dict[str, float]:
    return _even("、。，！？：；（）「」『』・ー…《》【】“”～", -5.7) | _even(letters, -6.0)


def _east_asian() -> dict[str, list[Language]]:
    """Chinese, Japanese and Korean, whose characters have frequent and rare ranges."""
    kana = {chr(number): -5.3 if number < 0x30A0 else -5.9 for number in range(0x3041, 0x30FB)}
    half = {chr(number): -7.2 for number in range(0xFF66, 0xFFA0)}
    japanese = Language(
        _marks(_JAPANESE) | kana | half,
        (("cp932", 0x989F, -10.5), ("cp932", 0x889F, -8.5), ("cp932", 0x100, -10.0)),
    )
    return {
        "gb18030": [
            Language(
                _marks(_CHINESE + _SIMPLIFIED),
                (("gb2312", 0xD8A1, -11.5), ("gb2312", 0xB0A1, -9.0), ("gb2312", 1, -10.5)),
            )
        ],
        "big5": [
            Language(
                _marks(_CHINESE + _TRADITIONAL),
                (("big5", 0xC940, -11.5), ("big5", 0xA440, -9.0), ("big5", 1, -10.5)),
            )
        ],
        "cp932": [japanese],
        "euc_jp": [japanese],
        "cp949": [
            Language(
                _marks(_KOREAN) | _even(_KOREAN, -5.3),
                (("euc_kr", 0xCAA1, -12.0), ("euc_kr", 0xB0A1, -8.5), ("euc_kr", 1, -10.5)),
            )
        ],
    }


@lru_cache(maxsize=1)
def languages() -> dict[str, list[Language]]:
    """The languages that are written in each code page."""
    found: dict[str, list[Language]] = {}
    kinds = ((0.1, 0.8, _LATIN), (0.15, 0.9, _VIETNAMESE), (1.0, 0.9, _ALPHABETS))
    for share, ratio, alphabets in kinds:
        for letters, pages in alphabets:
            language = Language(_ranked(letters, share, ratio))
            for page in pages:
                found.setdefault(page, []).append(language)
    return found | _east_asian()
