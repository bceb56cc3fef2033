"""The wire: HTTP, keys and limits. What is answered is made in sodate/api."""
