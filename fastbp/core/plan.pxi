cdef enum:
    AT_ONCE = 1 << 24  # multiply-adds, rows times parameters, between two looks at signals: some milliseconds


cdef int look_around(void *context) noexcept with gil:
    """Within a long call: let threads that wait for the vectors have them, and signals be handled."""
    cdef Plan plan = <Plan>context
    try:
        plan.lock.let_others()
        PyErr_CheckSignals()
    except BaseException as error:
        plan.raised = error
        return 1
    return 0


cdef class Plan:
    """A network compiled for training or prediction on rows of one real type.

    Parameters
    ----------
    spec : fastbp._support.plan_spec.PlanSpec
        Network, loss, optimizer and settings.
    vectors : fastbp._support.plan_spec.PlanVectors
        The arrays that the plan reads and writes. It keeps a reference to them.

    Raises
    ------
    TypeError, ValueError
        If a field of either is of the wrong kind or value, or they do not fit each other.
    MemoryError
        If there is no memory for the workspace.

    Notes
    -----
    Calls of the plans of a net follow each other, whatever threads they come from: see `PlanVectors.lock`. A thread
    waits without the GIL.
    """

    cdef fbp_plan *plan
    cdef const fbp_kernels *kernels
    cdef fbp_vectors vectors
    cdef Arguments held          # parameters, gradient, moments
    cdef PublicVectors public_vectors
    cdef size_t inputs, outputs
    cdef const fbp_loss_traits *loss_traits  # NULL: the plan has no loss
    cdef bint can_step, whole
    cdef size_t rows, kept_rows  # of the spec; of the last call of `forward_kept`, until `backward`
    cdef Lock lock
    cdef unsigned long caller    # the thread whose call is under way; 0: none
    cdef object raised           # by a signal's handler within a call
    cdef fbp_epoch epoch
    cdef Arguments epoch_held    # x, target, weights and learning rates of the epoch
    cdef bint epoch_on
    cdef Updates epoch_updates   # counts those of the epoch
    cdef Room epoch_labels, epoch_order, labels, x_room, target_room
    cdef size_t most_rows        # that `try_predict` and `try_step` take
    cdef double multiply_adds    # in the forward pass of a row

    def __cinit__(self, spec, vectors):
        cdef fbp_plan_spec c_spec
        cdef fbp_watch watch
        cdef fbp_plan_error error
        cdef void *memory
        cdef int status
        self.held.count = self.epoch_held.count = 0
        self.lock = Lock() if vectors.lock is None else vectors.lock
        if spec.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', got {spec.dtype!r}")
        memory = set_plan_spec(&c_spec, spec)
        try:
            self.kernels = c_spec.kernels = kernels_for(4 if spec.dtype == "float32" else 8)
            c_spec.trains = vectors.gradient is not None
            status = fbp_plan_create(&c_spec, &self.plan, &error)
            if status == FBP_BAD_PLAN:
                refuse_plan(&error, spec)
            to_status(status)
        finally:
            free(memory)
        memset(&watch, 0, sizeof(watch))
        watch.waiting = &self.lock.waiting
        if c_spec.trains:
            watch.look, watch.context = look_around, <void *>self
        fbp_plan_watch(self.plan, &watch)
        self.inputs, self.outputs = fbp_plan_inputs(self.plan), fbp_plan_width(self.plan)
        if c_spec.loss >= 0:
            self.loss_traits = &fbp_loss_traits_of[c_spec.loss]
        self.whole, self.rows = c_spec.whole, c_spec.rows
        self.multiply_adds = fbp_plan_parameters(self.plan)
        self.most_rows = self.rows if self.rows < FBP_BLOCK or self.whole else max(
            <size_t>FBP_BLOCK, AT_ONCE // (fbp_plan_parameters(self.plan) + 1))
        self.held.item = self.epoch_held.item = self.kernels.item
        self.hold_all(vectors)
        self.can_step = (spec.optimizer is not None and self.vectors.gradient != NULL
                         and has_moments(&c_spec.optimizer, &self.vectors))

    def __dealloc__(self):
        if self.plan != NULL:
            fbp_plan_destroy(self.plan)
        release(&self.held)
        release(&self.epoch_held)
        free(self.epoch_labels.at)
        free(self.epoch_order.at)
        free(self.labels.at)
        free(self.x_room.at)
        free(self.target_room.at)

    def __reduce__(self):
        raise TypeError("a Plan cannot be pickled: save the network or the trainer")

    cdef int hold_all(self, vectors) except -1:
        """Take the arrays of a PlanVectors."""
        cdef size_t count = fbp_plan_parameters(self.plan), statistics = fbp_plan_statistics(self.plan)
        if vectors.parameters is None:
            raise TypeError("parameters must be an array, got None")
        if statistics and vectors.statistics is None:
            raise TypeError("statistics must be an array, got None")
        self.vectors.parameters = self.hold("parameters", vectors.parameters, count)
        self.vectors.gradient = self.hold("gradient", vectors.gradient, count)
        first, second, third = vectors.moments
        self.vectors.moments[0] = self.hold("moments[0]", first, count)
        self.vectors.moments[1] = self.hold("moments[1]", second, count)
        self.vectors.moments[2] = self.hold("moments[2]", third, count)
        self.vectors.average = self.hold("average", vectors.average, count)
        self.vectors.statistics = self.hold("statistics", vectors.statistics, statistics)
        self.public_vectors = PublicVectors(vectors)
        return 0

    cdef void *hold(self, str name, object vector, size_t count) except? NULL:
        if vector is None:
            return NULL
        view = real_out(&self.held, name, vector, 1)
        match_size(name, view, count)
        return view.buf

    cdef int enter(self) except -1:
        self.lock.acquire()
        if self.caller == PyThread_get_thread_ident():
            self.lock.end()
            raise RuntimeError("a call of this plan is under way: a signal's handler cannot make another one")
        self.caller = PyThread_get_thread_ident()
        return 0

    cdef void leave(self) noexcept:
        self.caller = 0
        self.lock.end()

    cdef int checked(self, int status) except -1:
        """The status of a call that can stop, or its error."""
        if status == FBP_STOPPED:
            raised, self.raised = self.raised, None
            raise raised
        return to_status(status)

    cdef PyThreadState *let_go_for(self, int passes, size_t rows) noexcept:
        return let_go(passes * self.multiply_adds / MULTIPLY_ADDS_A_REAL * rows)

    cdef Py_buffer *take_x(self, Arguments *args, fbp_rows *rows, object x) except NULL:
        args.count, args.item = 0, self.kernels.item
        view = take_rows(args, rows, x, self.kernels.item)
        if <size_t>view.shape[1] != self.inputs:
            raise ValueError(f"x has {view.shape[1]} columns; the network takes {self.inputs}")
        return view

    cdef Py_buffer *take_target(self, Arguments *args, object target, Py_ssize_t rows) except NULL:
        if self.loss_traits == NULL:
            raise RuntimeError("this plan has no loss: it can predict only")
        if self.loss_traits.labels:
            view = take(args, "target", target, b'i', 1, 0)
            match_size("target", view, rows)
        else:
            view = real(args, "target", target, 2)
            match("target", view, rows, self.outputs)
        return view

    cdef const void *target_pointer(self, Room *labels, const Py_buffer *view) except NULL:
        """Where C may read the target; for labels a checked copy. The lock is held."""
        if not self.loss_traits.labels:
            return view.buf
        return checked_positions(labels, "target", view, self.outputs)

    cdef size_t target_row(self) noexcept nogil:
        return 1 if self.loss_traits.labels else self.outputs

    cdef void gradient_is_overwritten(self) noexcept:
        """Give up an epoch that was stopped within a minibatch: half of its gradient is about to be lost."""
        if self.epoch.block_start:
            self.epoch_on = False

    @property
    def in_call(self):
        """Whether a call that this thread made is under way: a signal's handler asks."""
        return self.caller == PyThread_get_thread_ident()

    @property
    def learned_count(self):
        """Layers that have parameters."""
        return fbp_plan_learned(self.plan)

    @property
    def parameters_count(self):
        return fbp_plan_parameters(self.plan)

    @property
    def workspace_bytes(self):
        return fbp_plan_workspace(self.plan)

    @property
    def isa(self):
        return self.kernels.isa.decode()

    @property
    def outdated(self):
        """Whether another instruction set has been chosen since the plan was made."""
        return self.kernels != kernels_for(self.kernels.item)

    def threads_for(self, size_t rows):
        """The number of threads that a minibatch of so many rows would use."""
        return fbp_plan_threads(self.plan, rows)

    def forward(self, x, y):
        """Write the outputs for x (rows, I) to y (rows, O)."""
        cdef Arguments args
        cdef fbp_rows x_rows
        cdef int status = FBP_OK
        args.count = 0
        try:
            x_ = self.take_x(&args, &x_rows, x)
            y_ = real_out(&args, "y", y, 2)
            match("y", y_, x_.shape[0], self.outputs)
            if x_.shape[0]:
                self.enter()
                state = self.let_go_for(1, x_.shape[0])
                status = fbp_plan_forward(self.plan, &self.vectors, &x_rows, x_.shape[0], y_.buf)
                take_back(state)
                self.leave()
            to_status(status)
        finally:
            release(&args)

    cdef int take_data(self, Arguments *args, fbp_data *data, object x, object target, object weights) except -1:
        """x, target and the weights of rows as C takes them; a pointer to labels is still the caller's own memory."""
        memset(data, 0, sizeof(fbp_data))
        x_ = self.take_x(args, &data.x, x)
        target_ = self.take_target(args, target, x_.shape[0])
        data.rows = x_.shape[0]
        data.target, data.target_row = target_.buf, self.target_row()
        if weights is not None:
            weights_ = take(args, "weights", weights, b'd', 1, 0)
            match_size("weights", weights_, data.rows)
            data.weights = <const double *>weights_.buf
        return 0

    cdef int enter_with(self, Arguments *args, fbp_data *data) except -1:
        """Take the lock, and let data.target be where C may read it."""
        self.enter()
        try:
            data.target = self.target_pointer(&self.labels, &args.views[1])
        except BaseException:
            self.leave()
            raise
        return 0

    cdef int refuse_too_many(self, size_t rows) except -1:
        if self.whole and rows > self.rows:
            raise ValueError(f"x has {rows} rows; this plan takes minibatches whole, of at most {self.rows}")
        return 0

    def loss(self, x, target, weights=None):
        """The loss of (x, target) in prediction, a sum over rows and elements, and what a mean divides it by."""
        cdef Arguments args
        cdef fbp_data data
        cdef int status = FBP_OK
        cdef double loss = 0, mass = 0
        args.count = 0
        try:
            self.take_data(&args, &data, x, target, weights)
            if data.rows:
                self.enter_with(&args, &data)
                state = self.let_go_for(1, data.rows)
                status = fbp_plan_loss(self.plan, &self.vectors, &data, &loss, &mass)
                take_back(state)
                self.leave()
            to_status(status)
            return loss, mass
        finally:
            release(&args)

    def gradient(self, x, target, dx=None, weights=None, bint training=True, uint64_t draw=0):
        """The loss of the minibatch (x, target) with its penalties; its gradient goes to the gradient vector, that at x to dx
        if given."""
        cdef Arguments args
        cdef fbp_data data
        cdef int status
        cdef double loss = 0
        cdef void *dx_at = NULL
        args.count = 0
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        try:
            self.take_data(&args, &data, x, target, weights)
            if dx is not None:
                dx_ = real_out(&args, "dx", dx, 2)
                match("dx", dx_, data.rows, self.inputs)
                dx_at = dx_.buf
            if data.rows == 0:
                raise ValueError("x has no rows")
            if training:
                self.refuse_too_many(data.rows)
            self.enter_with(&args, &data)
            self.gradient_is_overwritten()
            state = self.let_go_for(3, data.rows)
            status = fbp_plan_gradient(self.plan, &self.vectors, &data, training, draw, &loss, dx_at)
            take_back(state)
            self.leave()
            self.checked(status)
            return loss
        finally:
            release(&args)

    def example_gradients(self, x, target, losses, gradients):
        """Write to losses (rows,) float64 and gradients (rows, P) those of each example, as a minibatch of one."""
        cdef Arguments args
        cdef fbp_data data
        cdef int status = FBP_OK
        args.count = 0
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        try:
            self.take_data(&args, &data, x, target, None)
            losses_ = take(&args, "losses", losses, b'd', 1, PyBUF_WRITABLE)
            match_size("losses", losses_, data.rows)
            gradients_ = real_out(&args, "gradients", gradients, 2)
            match("gradients", gradients_, data.rows, fbp_plan_parameters(self.plan))
            if data.rows:
                self.enter_with(&args, &data)
                state = self.let_go_for(3, data.rows)
                status = fbp_plan_example_gradients(self.plan, &self.vectors, &data, <double *>losses_.buf,
                                                    gradients_.buf)
                take_back(state)
                self.leave()
            to_status(status)
        finally:
            release(&args)

    def example_norms(self, x, target, losses, squares):
        """Write to losses (rows,) and squares (rows,), float64, each example's loss and its gradient's squared norm."""
        cdef Arguments args
        cdef fbp_data data
        cdef int status = FBP_OK
        args.count = 0
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        try:
            self.take_data(&args, &data, x, target, None)
            losses_ = take(&args, "losses", losses, b'd', 1, PyBUF_WRITABLE)
            match_size("losses", losses_, data.rows)
            squares_ = take(&args, "squares", squares, b'd', 1, PyBUF_WRITABLE)
            match_size("squares", squares_, data.rows)
            if data.rows:
                self.enter_with(&args, &data)
                state = self.let_go_for(3, data.rows)
                status = fbp_plan_example_norms(self.plan, &self.vectors, &data, <double *>losses_.buf,
                                                <double *>squares_.buf)
                take_back(state)
                self.leave()
            to_status(status)
        finally:
            release(&args)

    def forward_kept(self, x, y, bint training, uint64_t draw=0, size_t first_row=0):
        """Write the outputs for x (rows, I) to y (rows, O) and keep what `backward` needs; rows at most those of the plan."""
        cdef Arguments args
        cdef fbp_rows x_rows
        cdef int status
        args.count = 0
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        try:
            x_ = self.take_x(&args, &x_rows, x)
            y_ = real_out(&args, "y", y, 2)
            match("y", y_, x_.shape[0], self.outputs)
            if x_.shape[0] == 0:
                raise ValueError("x has no rows")
            self.enter()
            self.gradient_is_overwritten()
            state = self.let_go_for(1, x_.shape[0])
            status = fbp_plan_outputs(self.plan, &self.vectors, &x_rows, x_.shape[0], first_row, training, draw,
                                      y_.buf)
            take_back(state)
            self.kept_rows = x_.shape[0] if status == FBP_OK else 0
            self.leave()
            self.checked(status)
        finally:
            release(&args)

    def backward(self, dy, bint accumulate=False, dx=None):
        """From dy (rows, O), the gradient at what `forward_kept` gave: the gradient vector and, unless None, dx (rows, I)."""
        cdef Arguments args
        cdef int status
        cdef void *dx_at = NULL
        args.count, args.item = 0, self.kernels.item
        try:
            dy_ = real(&args, "dy", dy, 2)
            match("dy", dy_, self.kept_rows, self.outputs)
            if dx is not None:
                dx_ = real_out(&args, "dx", dx, 2)
                match("dx", dx_, self.kept_rows, self.inputs)
                dx_at = dx_.buf
            self.enter()
            if self.kept_rows == 0:
                self.leave()
                raise RuntimeError("backward comes after forward_kept, once")
            state = self.let_go_for(2, self.kept_rows)
            status = fbp_plan_backward(self.plan, &self.vectors, dy_.buf, accumulate, dx_at)
            take_back(state)
            self.kept_rows = 0
            self.leave()
            self.checked(status)
        finally:
            release(&args)

    def add_penalties(self):
        """Add the gradient of the layers' penalties to the gradient vector; return their loss."""
        cdef double penalty
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        self.enter()
        state = self.let_go_for(1, FBP_BLOCK)
        penalty = fbp_plan_penalties(self.plan, &self.vectors)
        take_back(state)
        self.leave()
        return penalty

    def update(self, double loss, double mass, double learning_rate, Updates updates not None, bint own, layer_squares=None):
        """Make and count an update with the gradient vector as it is; return (status, loss, squared norm). own: the gradient
        was made by this plan, so that penalties join it and running statistics follow."""
        cdef Arguments args
        cdef fbp_epoch once
        cdef int status
        args.count = 0
        if not self.can_step:
            raise RuntimeError("this plan lacks a loss, an optimizer or one of its vectors: it can take no step")
        try:
            self.public_vectors.refuse_read_only()
            memset(&once, 0, sizeof(once))
            once.learning_rates = &learning_rate
            once.mass = mass
            if layer_squares is not None:
                squares_ = take(&args, "layer_squares", layer_squares, b'd', 1, PyBUF_WRITABLE)
                match_size("layer_squares", squares_, fbp_plan_learned(self.plan))
                once.layer_squares = <double *>squares_.buf
            self.enter()
            updates.lend(&once)
            state = self.let_go_for(1, FBP_BLOCK)
            status = fbp_plan_update(self.plan, &self.vectors, &once, loss, own)
            take_back(state)
            updates.take(&once)
            self.lock.changes += 1
            self.leave()
            return to_status(status), once.last_loss if status == FBP_OK else once.failed_loss, once.squared_norm_sum
        finally:
            release(&args)

    cdef int make_step(self, const fbp_data *data, double learning_rate, Updates updates, double *loss) noexcept:
        """Make and count an update. The lock is held."""
        cdef fbp_epoch once
        cdef int status
        memset(&once, 0, sizeof(once))
        once.data = data[0]
        once.batch = data.rows
        once.accumulate = 1
        once.learning_rates = &learning_rate
        once.seconds = INFINITY
        updates.lend(&once)
        self.gradient_is_overwritten()
        state = self.let_go_for(3, data.rows)
        status = fbp_plan_epoch(self.plan, &self.vectors, &once)
        take_back(state)
        updates.take(&once)
        self.lock.changes += 1
        loss[0] = once.last_loss if status == FBP_OK else once.failed_loss
        return status

    def step(self, x, target, double learning_rate, Updates updates not None, weights=None):
        """Make and count an update with the minibatch (x, target); return (status, loss)."""
        cdef Arguments args
        cdef fbp_data data
        cdef int status
        cdef double loss
        args.count = 0
        if not self.can_step:
            raise RuntimeError("this plan lacks a loss, an optimizer or one of its vectors: it can take no step")
        try:
            self.public_vectors.refuse_read_only()
            self.take_data(&args, &data, x, target, weights)
            if data.rows == 0:
                raise ValueError("x has no rows")
            self.refuse_too_many(data.rows)
            self.enter_with(&args, &data)
            status = self.make_step(&data, learning_rate, updates, &loss)
            self.leave()
            return self.checked(status), loss
        finally:
            release(&args)

    # What follows is for calls that are made again and again. It raises no errors and names no causes: where something
    # is not as it must be, nothing is done, None is returned, and the caller's own checks find out.

    cdef Py_buffer *glance_at_x(self, Arguments *args, object x) noexcept:
        """The buffer of x (rows, I), of bytes or of either real type and with few enough rows; or NULL. NULL, too, when
        another instruction set has been chosen."""
        args.count = args.item = 0
        if self.kernels != kernels_for(self.kernels.item) or look_at(args, x, b'x', 2, 0) != READY:
            return NULL
        view = &args.views[0]
        if <size_t>view.shape[1] != self.inputs or not 0 < <size_t>view.shape[0] <= self.most_rows:
            return NULL
        if view.itemsize != <Py_ssize_t>self.kernels.item and view.itemsize > 1 and view.shape[0] > FBP_BLOCK:
            return NULL  # its copy would take much memory for good
        return view

    cdef int set_rows(self, fbp_rows *rows, const Py_buffer *view) except -1:
        """The rows that `glance_at_x` found; those of the other real type are copied. The lock is held."""
        if view.itemsize == 1:
            rows.at, rows.kind = view.buf, FBP_BYTES
            rows.row, rows.column = <ptrdiff_t>self.inputs, 1
        else:
            rows[0] = close_rows(converted(&self.x_room, "x", view, self.kernels.item), self.inputs, self.kernels.item)
        return 0

    def try_predict(self, x):
        """The outputs (rows, O) for x (rows, I), of bytes or either real type; None where x is not finite, too."""
        cdef Arguments args
        cdef fbp_rows x_rows
        cdef size_t rows
        cdef bint finite
        try:
            x_ = self.glance_at_x(&args, x)
            if x_ == NULL:
                return None
            rows = x_.shape[0]
            y = new_array((rows, self.outputs), self.kernels.item)
            args.item = self.kernels.item
            y_ = real_out(&args, "y", y, 2)
            self.enter()
            try:
                self.set_rows(&x_rows, x_)
                state = self.let_go_for(1, rows)
                finite = x_rows.kind == FBP_BYTES or self.kernels.all_finite(x_rows.at, rows * self.inputs)
                if finite:
                    fbp_plan_forward(self.plan, &self.vectors, &x_rows, rows, y_.buf)
                take_back(state)
            finally:
                self.leave()
            return y if finite else None
        finally:
            release(&args)

    def try_step(self, x, target, double learning_rate, Updates updates not None):
        """Make one update as `step`, count it and return its loss; None where the loss or its gradient is not finite,
        too, and while `updates` is held, if by this very thread: it may be in a signal's handler.

        x may be of bytes, x and target of either real type, labels of int64 or int32, and target (rows,) where there is one output.
        """
        cdef Arguments args
        cdef fbp_data data
        cdef const void *target_at
        cdef size_t rows
        cdef int status = FBP_LOSS_NOT_FINITE
        cdef double loss
        cdef bint labels
        args.count = 0
        if not self.can_step or self.loss_traits == NULL or not self.public_vectors.can_be_written() or not updates.begin():
            return None
        labels = self.loss_traits.labels
        try:
            x_ = self.glance_at_x(&args, x)
            args.item = 0
            if x_ == NULL or look_at(&args, target, b'n' if labels else b'r', ANY, 0) != READY:
                return None
            target_ = &args.views[1]
            rows = x_.shape[0]
            if target_.ndim == 1:
                # One probability is no distribution over classes: for that loss a vector holds labels.
                if not labels and (self.outputs != 1 or self.loss_traits.of_classes):
                    return None
            elif target_.ndim != 2 or labels or <size_t>target_.shape[1] != self.outputs:
                return None
            if <size_t>target_.shape[0] != rows:
                return None
            self.enter()
            try:
                memset(&data, 0, sizeof(data))
                self.set_rows(&data.x, x_)
                if labels:
                    target_at = copied_positions(&self.labels, "target", target_)
                    if first_outside(<const int64_t *>target_at, rows, self.outputs) >= 0:
                        return None
                else:
                    target_at = converted(&self.target_room, "target", target_, self.kernels.item)
                    if (self.loss_traits.probabilities
                            and not all_probabilities(target_at, self.kernels.item, rows * self.outputs)):
                        return None
                data.rows, data.target, data.target_row = rows, target_at, self.target_row()
                status = self.make_step(&data, learning_rate, updates, &loss)
            finally:
                self.leave()
            if status != FBP_OK:
                return None
            updates.last_loss = loss
            return updates.last_loss
        finally:
            updates.end()
            release(&args)

    def begin_epoch(self, x, target, Py_ssize_t batch, order, learning_rates, Updates updates not None, weights=None,
                    size_t accumulate=1, layer_squares=None):
        """Get ready for a pass over (x, target) in minibatches; `run` then makes it, and counts its updates.

        order: int64, the rows to take, one after the other, of x and target; or None: all, as they stand.
        learning_rates: float64, one an update, that is for every `accumulate` minibatches.
        layer_squares: float64, one a layer with parameters, to which |gradient|^2 is added in every update; or None.
        """
        cdef Arguments args
        cdef Arguments before
        cdef fbp_data data
        cdef Py_ssize_t count  # of updates
        cdef size_t rows
        cdef Py_buffer *order_ = NULL
        cdef Py_buffer *squares_ = NULL
        args.count = before.count = 0
        if not self.can_step:
            raise RuntimeError("this plan lacks a loss, an optimizer or one of its vectors: it can take no step")
        try:
            self.public_vectors.refuse_read_only()
            self.take_data(&args, &data, x, target, weights)
            rows = data.rows
            if order is not None:
                order_ = take(&args, "order", order, b'i', 1, 0)
                data.rows = elements(order_)
            if data.rows == 0:
                raise ValueError("there are no rows to take")
            if batch < 1:
                raise ValueError(f"batch must be at least 1, got {batch}")
            batch = min(<size_t>batch, data.rows)
            self.refuse_too_many(batch)
            accumulate = max(<size_t>1, min(accumulate, (data.rows - 1) // <size_t>batch + 1))
            rates_ = take(&args, "learning_rates", learning_rates, b'd', 1, 0)
            count = (data.rows - 1) // (batch * accumulate) + 1
            match_size("learning_rates", rates_, count)
            if layer_squares is not None:
                squares_ = take(&args, "layer_squares", layer_squares, b'd', 1, PyBUF_WRITABLE)
                match_size("layer_squares", squares_, fbp_plan_learned(self.plan))
            self.enter()
            try:
                self.epoch_on = False
                memset(&self.epoch, 0, sizeof(self.epoch))
                if order_ != NULL:
                    self.epoch.order = checked_positions(&self.epoch_order, "order", order_, rows)
                data.target = self.target_pointer(&self.epoch_labels, &args.views[1])
                self.epoch.data = data
                self.epoch.batch, self.epoch.accumulate = batch, accumulate
                self.epoch.learning_rates = <const double *>rates_.buf
                if squares_ != NULL:
                    self.epoch.layer_squares = <double *>squares_.buf
                updates.lend(&self.epoch)
                self.epoch_updates = updates
                before = self.epoch_held
                self.epoch_held = args
                args.count = 0
                self.epoch_on = True
            finally:
                self.leave()
        finally:
            release(&args)
            release(&before)

    def run(self, double seconds, size_t pause_step=0, int threads=0):
        """Go on with the epoch for about `seconds`, or until `pause_step` of its updates are done (0: no such bound), on at
        most `threads` threads (0: the plan's bound). Return a status: PAUSED when there is more to do."""
        cdef int status
        cdef Arguments done
        done.count = 0
        if not seconds > 0:
            raise ValueError(f"seconds must be above 0, got {seconds}")
        self.enter()
        try:
            if not self.epoch_on:
                raise RuntimeError("there is no epoch to run: begin_epoch comes first")
            self.epoch.seconds = seconds
            self.epoch.pause_step = pause_step
            self.epoch.threads = threads
            with nogil:
                status = fbp_plan_epoch(self.plan, &self.vectors, &self.epoch)
            self.epoch_updates.take(&self.epoch)
            self.lock.changes += 1
            if self.epoch.step:
                self.epoch_updates.last_loss = self.epoch.last_loss
            self.epoch_on = status == FBP_PAUSED
            if not self.epoch_on:
                done = self.epoch_held
                self.epoch_held.count = 0
        finally:
            self.leave()
        release(&done)
        return self.checked(status)

    @property
    def step_count(self):
        """Updates of the epoch done; after a failure, the number of the one that failed."""
        return self.epoch.step

    @property
    def rows_done(self):
        """Rows of the epoch that have been processed."""
        return min(self.epoch.step * self.epoch.batch * self.epoch.accumulate + self.epoch.block_start, self.epoch.data.rows)

    @property
    def mean_loss(self):
        """The mean over the epoch's updates of their loss, weighted by what their rows weigh; 0 where they weigh nothing."""
        return self.epoch.loss_sum / self.epoch.mass_sum if self.epoch.mass_sum > 0 else 0.0

    @property
    def mass_sum(self):
        """What the rows of the epoch's updates weigh."""
        return self.epoch.mass_sum

    @property
    def failed_loss(self):
        """After a failure, the loss of the minibatch that failed."""
        return self.epoch.failed_loss

    @property
    def squared_norm_sum(self):
        """The sum over the epoch's updates of the squared norm of the gradient."""
        return self.epoch.squared_norm_sum
