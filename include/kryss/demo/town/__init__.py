"""Kryssby: the town that does not exist. Makes the recorded area ``town`` (``shared/design/recorded-area.md``).

One four-arm junction with signals is built in Blender (``bpy``, an optional extra, imported only where pictures are made) and
photographed along two drives in each of two epochs. Everything that a real area can only guess is known here exactly: camera
intrinsics, camera poses, where every sign and light stands and which pixels it covers.

The rooms of the generator, from numbers to pictures:

``layout``    where things stand and where the cameras are; the frames and the projection. No Blender.
``records``   the files that need no picture: image entities, truth, NVDB and Overpass answers. No Blender.
``scenery``   meshes and materials. Blender.
``studio``    the scene of one epoch, the camera, rays, the finished JPEG. Blender.
"""
