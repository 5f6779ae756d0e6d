from . import index as index
from . import kernels as kernels
from . import table as table

__version__: str
