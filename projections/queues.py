"""The view of queues: how many jobs of each are in each state."""

from projections.sqlite import Projection

SCHEMA = (
    # Counted as the jobs change, since counting millions of them takes seconds. It needs the table of jobs.
    """
    CREATE TABLE queue_jobs (
        queue TEXT NOT NULL,
        status TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (queue, status)
    ) WITHOUT ROWID
    """,
    """
    CREATE TRIGGER job_of_queue_added AFTER INSERT ON jobs BEGIN
        INSERT INTO queue_jobs VALUES (NEW.queue, NEW.status, 1)
        ON CONFLICT (queue, status) DO UPDATE SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER job_of_queue_changed AFTER UPDATE OF status ON jobs WHEN NEW.status <> OLD.status BEGIN
        UPDATE queue_jobs SET count = count - 1 WHERE queue = OLD.queue AND status = OLD.status;
        INSERT INTO queue_jobs VALUES (NEW.queue, NEW.status, 1)
        ON CONFLICT (queue, status) DO UPDATE SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER job_of_queue_removed AFTER DELETE ON jobs BEGIN
        UPDATE queue_jobs SET count = count - 1 WHERE queue = OLD.queue AND status = OLD.status;
    END
    """,
)

QUEUES = Projection(SCHEMA, {})
