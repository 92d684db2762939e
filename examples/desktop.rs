//! A window that shares its GPU with heatlens and stays responsive while images are checked.
//!
//! ```text
//! cargo run --release --example desktop -- --filter model.heatlens [--classifier DIR] [--exit-when-done] FOLDER
//! ```
//!
//! The window opens one wgpu device and gives it to [`Device::from_wgpu`]. A worker thread checks the images on it one by
//! one and sends each verdict to the window, which draws a column for it: green for accept, red for reject. A stripe
//! below moves with every frame, so that a pause would be seen, and the longest one is printed at the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use heatlens::dataset::Dataset;
use heatlens::gpu::wgpu;
use heatlens::semantics::{Decision, Verdict};
use heatlens::{Device, Filter, Result};
use winit::application::ApplicationHandler;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, EventLoop, EventLoopProxy};
use winit::window::{Window, WindowId};

/// Checks the images of a folder in a window.
#[derive(Debug, Parser)]
struct Arguments {
    /// The filter, as `heatlens calibrate` writes it.
    #[arg(long)]
    filter: PathBuf,
    /// The classifier, if it isn't where the filter remembers it.
    #[arg(long)]
    classifier: Option<PathBuf>,
    /// Close the window two seconds after the last image.
    #[arg(long)]
    exit_when_done: bool,
    /// The images.
    folder: PathBuf,
}

/// What the worker tells the window.
enum Message {
    /// The verdict on an image, by its place in the folder, or why it couldn't be read.
    Checked(usize, Result<Verdict>),
    /// The last image is done, or none could be started.
    Finished(Result<()>),
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let images = Dataset::unlabelled(&arguments.folder)?;
    let event_loop = EventLoop::with_user_event().build()?;
    let mut app =
        App { images, proxy: event_loop.create_proxy(), arguments, view: None, closes_at: None, failure: None };
    event_loop.run_app(&mut app)?;
    match app.failure {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

struct App {
    arguments: Arguments,
    images: Dataset,
    proxy: EventLoopProxy<Message>,
    view: Option<View>,
    closes_at: Option<Instant>,
    failure: Option<Box<dyn std::error::Error>>,
}

impl App {
    /// Opens the window and starts the worker on the window's own device.
    fn start(&self, event_loop: &ActiveEventLoop) -> std::result::Result<View, Box<dyn std::error::Error>> {
        let attributes = Window::default_attributes().with_title("heatlens");
        let window = Arc::new(event_loop.create_window(attributes)?);
        let display = Box::new(event_loop.owned_display_handle());
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_with_display_handle_from_env(display));
        let surface = instance.create_surface(window.clone())?;
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions {
            compatible_surface: Some(&surface),
            ..Default::default()
        }))?;
        // The adapter's own limits: heatlens needs larger buffers than WebGPU's least.
        let (device, queue) = pollster::block_on(
            adapter.request_device(&wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..Default::default() }),
        )?;

        let shared = Device::from_wgpu(&adapter, device.clone(), queue.clone())?;
        let (filter, classifier) = (self.arguments.filter.clone(), self.arguments.classifier.clone());
        let paths: Vec<PathBuf> = self.images.samples.iter().map(|sample| PathBuf::from(&sample.path)).collect();
        let proxy = self.proxy.clone();
        std::thread::spawn(move || {
            // Sending fails only when the window is closed, and then nobody wants to know.
            let _ = proxy.send_event(Message::Finished(check(&shared, &filter, classifier.as_deref(), &paths, &proxy)));
        });
        View::new(window, surface, &adapter, device, queue, self.images.samples.len())
    }

    fn finish(&mut self, outcome: Result<()>, event_loop: &ActiveEventLoop) {
        match outcome {
            Err(error) => {
                self.failure = Some(error.into());
                event_loop.exit();
            }
            Ok(()) => {
                if let Some(view) = &self.view {
                    println!("{} frames drawn, the longest pause was {:.0?}", view.frame, view.longest_pause);
                }
                if self.arguments.exit_when_done {
                    self.closes_at = Some(Instant::now() + Duration::from_secs(2));
                }
            }
        }
    }
}

/// Checks every image, on the worker's thread.
fn check(
    device: &Device,
    filter: &std::path::Path,
    classifier: Option<&std::path::Path>,
    paths: &[PathBuf],
    proxy: &EventLoopProxy<Message>,
) -> Result<()> {
    let filter = Filter::open(device, filter, classifier)?;
    for (number, path) in paths.iter().enumerate() {
        if proxy.send_event(Message::Checked(number, filter.check_file(path))).is_err() {
            break;
        }
    }
    Ok(())
}

impl ApplicationHandler<Message> for App {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        if self.view.is_some() {
            return;
        }
        match self.start(event_loop) {
            Ok(view) => {
                view.window.request_redraw();
                self.view = Some(view);
            }
            Err(error) => {
                self.failure = Some(error);
                event_loop.exit();
            }
        }
    }

    fn user_event(&mut self, event_loop: &ActiveEventLoop, message: Message) {
        match message {
            Message::Checked(number, outcome) => {
                let path = &self.images.samples[number].path;
                let state = match outcome {
                    Ok(Verdict { verdict: decision, prediction, score, .. }) => {
                        let score = score.map_or("no score".to_owned(), |score| format!("score {score:+.4}"));
                        println!("{path}: {prediction}, {score}, {decision:?}");
                        if decision == Decision::Accept { 1 } else { 2 }
                    }
                    Err(error) => {
                        println!("{path}: {error}");
                        3
                    }
                };
                if let Some(view) = &mut self.view {
                    view.verdicts[number] = state;
                }
            }
            Message::Finished(outcome) => self.finish(outcome, event_loop),
        }
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(view) = &mut self.view else { return };
        match event {
            WindowEvent::CloseRequested => event_loop.exit(),
            WindowEvent::Resized(size) => view.resize(size.width, size.height),
            WindowEvent::RedrawRequested => {
                view.draw();
                view.window.request_redraw();
                if self.closes_at.is_some_and(|time| Instant::now() >= time) {
                    event_loop.exit();
                }
            }
            _ => {}
        }
    }
}

/// The window and what draws it.
struct View {
    window: Arc<Window>,
    surface: wgpu::Surface<'static>,
    config: wgpu::SurfaceConfiguration,
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::RenderPipeline,
    params: wgpu::Buffer,
    states: wgpu::Buffer,
    bind_group: wgpu::BindGroup,
    verdicts: Vec<u32>,
    frame: u32,
    drawn_at: Instant,
    longest_pause: Duration,
}

impl View {
    fn new(
        window: Arc<Window>,
        surface: wgpu::Surface<'static>,
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        images: usize,
    ) -> std::result::Result<Self, Box<dyn std::error::Error>> {
        let size = window.inner_size();
        let config = surface.get_default_config(adapter, size.width.max(1), size.height.max(1));
        let config = config.ok_or("the adapter can't draw to this window")?;
        surface.configure(&device, &config);
        let shader = device.create_shader_module(wgpu::include_wgsl!("desktop.wgsl"));
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("verdicts"),
            layout: None,
            vertex: wgpu::VertexState {
                module: &shader,
                entry_point: None,
                compilation_options: Default::default(),
                buffers: &[],
            },
            fragment: Some(wgpu::FragmentState {
                module: &shader,
                entry_point: None,
                compilation_options: Default::default(),
                targets: &[Some(config.format.into())],
            }),
            primitive: Default::default(),
            depth_stencil: None,
            multisample: Default::default(),
            multiview_mask: None,
            cache: None,
        });
        let buffer = |label, size, usage| {
            let usage = usage | wgpu::BufferUsages::COPY_DST;
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        let params = buffer("params", 16, wgpu::BufferUsages::UNIFORM);
        let states = buffer("verdicts", 4 * images as u64, wgpu::BufferUsages::STORAGE);
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("verdicts"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: params.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: states.as_entire_binding() },
            ],
        });
        Ok(Self {
            window,
            surface,
            config,
            device,
            queue,
            pipeline,
            params,
            states,
            bind_group,
            verdicts: vec![0; images],
            frame: 0,
            drawn_at: Instant::now(),
            longest_pause: Duration::ZERO,
        })
    }

    fn resize(&mut self, width: u32, height: u32) {
        (self.config.width, self.config.height) = (width.max(1), height.max(1));
        self.surface.configure(&self.device, &self.config);
    }

    fn draw(&mut self) {
        use wgpu::CurrentSurfaceTexture::{Lost, Outdated, Suboptimal, Success};
        let texture = match self.surface.get_current_texture() {
            Success(texture) | Suboptimal(texture) => texture,
            Outdated | Lost => return self.surface.configure(&self.device, &self.config),
            // Hidden or not ready: the next frame is as good.
            _ => return,
        };
        let (width, height) = (self.config.width as f32, self.config.height as f32);
        let words = [self.verdicts.len() as u32, self.frame, width.to_bits(), height.to_bits()];
        self.queue.write_buffer(&self.params, 0, bytemuck::cast_slice(&words));
        self.queue.write_buffer(&self.states, 0, bytemuck::cast_slice(&self.verdicts));
        let target = texture.texture.create_view(&Default::default());
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: &target,
                    depth_slice: None,
                    resolve_target: None,
                    ops: wgpu::Operations::default(),
                })],
                ..Default::default()
            });
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.bind_group, &[]);
            pass.draw(0..3, 0..1);
        }
        self.queue.submit([encoder.finish()]);
        self.window.pre_present_notify();
        self.queue.present(texture);
        let now = Instant::now();
        if self.frame > 0 {
            self.longest_pause = self.longest_pause.max(now - self.drawn_at);
        }
        self.drawn_at = now;
        self.frame += 1;
    }
}
