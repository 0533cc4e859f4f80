// SPDX-License-Identifier: GPL-2.0
/*
 * CRYPT that is not waited for. A job copies the program's data when it is queued, and its result
 * when it is fetched, both for whoever calls and while it calls: no job ever touches the memory of
 * a process that has gone on, or away.
 */
#include <linux/overflow.h>
#include <linux/slab.h>

#include "vcd.h"

/* Of a file: jobs that are queued or not fetched yet, and bytes of their data */
#define VCD_JOBS	64
#define VCD_JOB_BYTES	SZ_64M
/* Of a job; only a device that takes next to nothing at once has it that large. */
#define VCD_JOB_PARTS	1024

struct vcd_job {
	struct list_head link;
	struct vcd_crypt crypt;
	/* How many of the requests there are, and are on the ring */
	unsigned int made;
	unsigned int sent;
	struct vcd_request *requests[];
};

static void vcd_job_free(struct vcd_job *job)
{
	struct vcd_file *file = job->crypt.file;
	unsigned int i;

	for (i = 0; i < job->made; i++) {
		/* The file's poll is not there for long. */
		if (i < job->sent)
			vcd_queue_forget(file->queue, job->requests[i]);
		vcd_request_put(job->requests[i]);
	}
	vcd_crypt_end(&job->crypt);
	kvfree(job);
}

/* Counts a job, if there may be one more */
static int vcd_job_admit(struct vcd_file *file, size_t bytes)
{
	int err = 0;

	spin_lock(&file->jobs_lock);
	if (bytes > VCD_JOB_BYTES)
		err = -ENOMEM;
	else if (file->job_count >= VCD_JOBS || bytes > VCD_JOB_BYTES - file->job_bytes)
		err = -EBUSY;
	if (!err) {
		file->job_count++;
		file->job_bytes += bytes;
	}
	spin_unlock(&file->jobs_lock);
	return err;
}

static void vcd_job_dismiss(struct vcd_file *file, size_t bytes)
{
	spin_lock(&file->jobs_lock);
	file->job_count--;
	file->job_bytes -= bytes;
	spin_unlock(&file->jobs_lock);
	wake_up_poll(&file->poll, EPOLLOUT | EPOLLWRNORM);
}

/* All of them before any is sent: what can't be had is not found out half-way. */
static int vcd_job_make(struct vcd_job *job)
{
	struct vcd_crypt *crypt = &job->crypt;
	struct vcd_request *req;

	while (job->made < crypt->parts) {
		req = vcd_crypt_request(crypt, job->made);
		if (IS_ERR(req))
			return PTR_ERR(req);
		req->poll = &crypt->file->poll;
		job->requests[job->made++] = req;
	}
	return 0;
}

static int vcd_job_send(struct vcd_job *job, long *left)
{
	struct vcd_queue *queue = job->crypt.file->queue;
	int err = 0;

	while (!err && job->sent < job->made) {
		err = vcd_submit(queue, job->requests[job->sent], left);
		job->sent += !err;
	}
	return err;
}

static int vcd_job_start(struct vcd_job *job)
{
	struct vcd_crypt *crypt = &job->crypt;
	long left = vcd_patience();
	int err = vcd_job_make(job);

	err = err ?: vcd_session_enter(crypt->session, crypt->parts > 1, &left);
	if (err)
		return err;
	err = vcd_job_send(job, &left);
	vcd_session_leave(crypt->session, crypt->parts > 1);
	return err;
}

static struct vcd_job *vcd_job_new(const struct vcd_crypt *crypt)
{
	struct vcd_job *job = kvzalloc(struct_size(job, requests, crypt->parts),
				       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);

	if (job)
		job->crypt = *crypt;
	return job;
}

long vcd_async_crypt(struct vcd_file *file, const struct crypt_op *op)
{
	struct vcd_crypt crypt;
	struct vcd_job *job;
	int err;

	if (op->flags & COP_FLAG_NO_ZC)
		return -EINVAL;
	err = vcd_crypt_begin(&crypt, file, op);
	if (err)
		return err;
	err = crypt.parts > VCD_JOB_PARTS ? -ENOMEM : vcd_job_admit(file, op->len);
	if (err) {
		vcd_crypt_end(&crypt);
		return err;
	}
	job = vcd_job_new(&crypt);
	if (!job) {
		vcd_crypt_end(&crypt);
		err = -ENOMEM;
		goto dismiss;
	}
	err = vcd_job_start(job);
	if (err) {
		vcd_job_free(job);
		goto dismiss;
	}
	spin_lock(&file->jobs_lock);
	list_add_tail(&job->link, &file->jobs);
	spin_unlock(&file->jobs_lock);
	/* It may have been done before it could be found. */
	wake_up_poll(&file->poll, EPOLLIN | EPOLLRDNORM);
	return 0;
dismiss:
	vcd_job_dismiss(file, op->len);
	return err;
}

/* Requests of a session are answered in order, but those of a device that is lost all at once. */
static bool vcd_job_is_done(const struct vcd_job *job)
{
	unsigned int i;

	for (i = 0; i < job->crypt.parts; i++)
		/* Pairs with vcd_request_settle() */
		if (!smp_load_acquire(&job->requests[i]->answered))
			return false;
	return true;
}

/* The first that is done, or NULL. With the lock */
static struct vcd_job *vcd_job_done(struct vcd_file *file)
{
	struct vcd_job *job;

	list_for_each_entry(job, &file->jobs, link)
		if (vcd_job_is_done(job))
			return job;
	return NULL;
}

static int vcd_job_give_part(const struct vcd_job *job, unsigned int part)
{
	const struct vcd_crypt *crypt = &job->crypt;
	struct vcd_request *req = job->requests[part];
	u8 __user *dst = crypt->op.dst + (size_t)part * crypt->part_bytes;

	if (req->status)
		return req->status;
	/* It may have been unmapped since it was queued. */
	if (!vcd_data_is_there(req, crypt->file, dst))
		return -EFAULT;
	return vcd_crypt_give(crypt, req, part);
}

static int vcd_job_give(const struct vcd_job *job)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < job->crypt.parts; i++)
		err = vcd_job_give_part(job, i);
	for (i = 0; i < job->crypt.parts; i++)
		vcd_data_keep(job->requests[i], job->crypt.file);
	return err;
}

long vcd_async_fetch(struct vcd_file *file, struct crypt_op *op)
{
	struct vcd_job *job;
	int err;

	spin_lock(&file->jobs_lock);
	job = vcd_job_done(file);
	if (job)
		list_del(&job->link);
	spin_unlock(&file->jobs_lock);
	if (!job)
		return -EBUSY;
	err = vcd_job_give(job);
	*op = job->crypt.op;
	vcd_job_free(job);
	vcd_job_dismiss(file, op->len);
	return err;
}

__poll_t vcd_async_poll(struct file *filp, struct poll_table_struct *wait)
{
	struct vcd_file *file = filp->private_data;
	__poll_t events = 0;

	poll_wait(filp, &file->poll, wait);
	spin_lock(&file->jobs_lock);
	if (file->job_count < VCD_JOBS)
		events |= EPOLLOUT | EPOLLWRNORM;
	if (vcd_job_done(file))
		events |= EPOLLIN | EPOLLRDNORM;
	spin_unlock(&file->jobs_lock);
	return events;
}

void vcd_async_free(struct vcd_file *file)
{
	struct vcd_job *job, *next;

	list_for_each_entry_safe(job, next, &file->jobs, link)
		vcd_job_free(job);
}
