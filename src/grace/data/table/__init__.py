"""Tables of sensor histories in any usual format, read into a fleet."""

from grace.data.table.read import read_table
from grace.data.table.suggest import SchemaProposal, suggest_schema
from grace.data.table.table_schema import TableSchema, Threshold

__all__ = ["SchemaProposal", "TableSchema", "Threshold", "read_table", "suggest_schema"]
