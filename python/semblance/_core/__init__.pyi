from . import index as index
from . import kernels as kernels
from . import table as table
from . import text as text

__version__: str
