"""Where the workspace is and what the limits are; every field can be set as ``SLICESCOPE_<NAME>``."""

from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_DIR = Path(__file__).resolve().parent.parent
ASSETS_DIR = PROJECT_DIR / "assets"
#: The bundle of the shipped model.
WEIGHTS_DIR = ASSETS_DIR / "weights"


class Settings(BaseSettings):
    """Settings of one installation.

    Examples
    --------
    >>> Settings(workspace="/tmp/w").cohorts_dir.as_posix()
    '/tmp/w/cohorts'
    """

    model_config = SettingsConfigDict(env_prefix="SLICESCOPE_", extra="ignore", frozen=True)

    workspace: Path = Field(PROJECT_DIR / "workspace", description="Folder for cohorts, runs and uploads.")
    real_data: Path | None = Field(None, description="Folder of real MRI for tests marked `real`.")
    index_roots: str = Field("/", description="Folders under which the app may index, separated by ':'.")
    parse_memory_mb: int = Field(3072, gt=0, description="Address space of the child that parses what users bring.")
    parse_timeout_s: float = Field(30.0, gt=0, description="Time limit for parsing one file.")
    predict_timeout_s: float = Field(180.0, gt=0, description="Time limit for one request to the inference worker.")
    explain_timeout_s: float = Field(120.0, gt=0, description="Time limit for one batch of maps of a model's evidence.")
    import_memory_mb: int = Field(8192, gt=0, description="Address space of the child that checks an imported model.")
    import_timeout_s: float = Field(120.0, gt=0, description="Time limit for each half of checking an imported model.")
    max_upload_mb: int = Field(2048, gt=0, description="Largest upload, and largest unpacked archive.")
    max_upload_files: int = Field(20000, gt=0, description="Most files in one upload or archive.")
    max_slice_pixels: int = Field(4096 * 4096, gt=0, description="Largest single slice that is decoded.")
    cache_mb: int = Field(
        4096, gt=0, description="Size of the store of model inputs and features; beyond it the longest unused go."
    )
    idc_endpoint: str = Field(
        "https://s3.amazonaws.com", description="S3 service that images of the Imaging Data Commons are fetched from."
    )
    device: str = Field("auto", description="Where training runs: auto, cpu, gpu:N, or several with commas.")
    logical_cpus: int = Field(
        0, ge=0, le=64, description="Split the processor into so many devices, to try several devices without a GPU."
    )
    ray_address: str = Field("", description="Ray cluster that may train, for example http://gpu-box:8265.")
    ray_token: SecretStr | None = Field(None, description="Its token; without, what Ray itself finds is used.")
    ray_python: str = Field("python", description="Python of the cluster that has what requirements.txt lists.")
    ray_gpus: int = Field(0, ge=0, le=64, description="GPUs that a run asks of the cluster.")

    @property
    def cohorts_dir(self) -> Path:
        return self.workspace / "cohorts"

    @property
    def runs_dir(self) -> Path:
        return self.workspace / "runs"

    @property
    def trash_dir(self) -> Path:
        return self.workspace / "trash"

    @property
    def lessons_dir(self) -> Path:
        return self.workspace / "lessons"

    @property
    def studies_dir(self) -> Path:
        return self.workspace / "studies"

    @property
    def downloads_dir(self) -> Path:
        return self.workspace / "downloads"

    @property
    def features_dir(self) -> Path:
        return self.workspace / "features"


@lru_cache
def get_settings() -> Settings:
    """Return the settings of this process, read once from the environment."""
    return Settings()
