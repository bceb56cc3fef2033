"""What a project has beside its replies: files, jobs, quotas; the queue, and the workers that empty it."""
