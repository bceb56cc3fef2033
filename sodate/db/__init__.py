"""The database, and nobody else opens it: tables, migrations, sessions."""
